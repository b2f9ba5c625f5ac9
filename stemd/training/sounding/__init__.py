"""From notes to sound: a soundfont, synthesisers, drum kits, singers, effects, mastering."""
