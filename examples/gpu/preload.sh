# Runs after the driver is there: whatever else the image is to hold.
ls -d /var/lib/nvidia/setup_gpu.sh > /var/lib/gpu-image
