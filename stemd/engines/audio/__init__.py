"""Sound files in and out, always in blocks: decode, resample, measure, encode, tag and verify."""
