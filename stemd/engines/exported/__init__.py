"""HTDemucs computed by OpenVINO: exported once per model, kept, compiled for the machine. Optional."""
