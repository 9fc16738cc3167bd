"""What is typed after `mer`, one file for each stage: options, one call, the answer printed."""
