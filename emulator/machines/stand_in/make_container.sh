#!/bin/bash
# make_container.sh <module>: makes what stands in for the GPU driver installer, in the root file system of the image.
# The module is one that does nothing by itself.
set -euo pipefail
cd /build
gpu=root/usr/lib/stand-in/gpu
mkdir -p layer/{bin,etc,proc,sys,dev,tmp,root,usr/bin,usr/lib/stand-in/gpu}
chmod 1777 layer/tmp

# Kernel modules that can be loaded: the same under other names, which stand in a field of 56 bytes.
sed 's/nls_ascii\(\x00\{47\}\)/nvidia\x00\x00\x00\1/' "$1" > $gpu/nvidia.ko
sed 's/nls_ascii\x00\(\x00\{46\}\)/nvidia_uvm\1/' "$1" > $gpu/nvidia-uvm.ko
grep -q nvidia $gpu/nvidia.ko
grep -q nvidia_uvm $gpu/nvidia-uvm.ko

# A container image of one layer, as `docker save` writes it.
cp $gpu/{install_driver.sh,nvidia.ko,nvidia-uvm.ko} layer/usr/lib/stand-in/gpu
install -m 755 $gpu/cos_gpu_installer.sh layer/usr/bin/cos-gpu-installer
cp tools/bin/busybox layer/bin
chroot layer /bin/busybox --install -s /bin
tar --create --file layer.tar --directory layer --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
layer=$(sha256sum layer.tar | cut -d ' ' -f 1)
mkdir -p "container/$layer"
mv layer.tar "container/$layer"
cat > container/config.json << EOF
{
  "architecture": "amd64",
  "os": "linux",
  "created": "2020-09-21T00:00:00Z",
  "config": {"Entrypoint": ["/usr/bin/cos-gpu-installer"], "Env": ["PATH=/usr/bin:/bin"], "Labels": {"stand-in": "true"}},
  "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]},
  "history": [{"created": "2020-09-21T00:00:00Z", "comment": "stand-in for cos-gpu-installer"}]
}
EOF
name=gcr.io/cos-cloud/cos-gpu-installer
cat > container/manifest.json << EOF
[{"Config": "config.json", "RepoTags": ["$name:v20200921", "$name:v20230815", "$name:latest"], "Layers": ["$layer/layer.tar"]}]
EOF
tar --create --file $gpu/cos-gpu-installer.tar --directory container manifest.json config.json "$layer"
rm $gpu/cos_gpu_installer.sh
