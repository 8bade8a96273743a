"""What an objective sees of a sample: augmentations and maskings, batched on the device, one file a data type."""
