#!/usr/bin/env bash
# Boots an image on a VM with a GPU, lets setup_gpu.sh run there from a cloud-config, and shows what it said.
set -euo pipefail
cd "$(dirname "$0")"
project=$1 zone=$2 image=$3 gpu_type=$4

# L4 GPUs come with their machine type; the others are attached to an n1.
case $gpu_type in
  nvidia-l4) machine=(--machine-type=g2-standard-4 --boot-disk-type=pd-balanced) ;;
  *) machine=(--machine-type=n1-standard-2 "--accelerator=type=$gpu_type,count=1") ;;
esac

vm=gpu-check-$$-$RANDOM
where=("--project=$project" "--zone=$zone" --quiet)
trap 'gcloud compute instances delete "$vm" "${where[@]}" 2> /dev/null || true' EXIT
# Should this script be killed: the VM deletes itself.
gcloud compute instances create "$vm" "${where[@]}" "${machine[@]}" "--image=$image" "--image-project=$project" \
  --maintenance-policy=TERMINATE --max-run-duration=20m --instance-termination-action=DELETE \
  --metadata-from-file=user-data=cloud-config.yaml

for ((seconds = 0; seconds < 600; seconds += 5)); do
  said=$(gcloud compute instances get-serial-port-output "$vm" "${where[@]}" --port=2 2> /dev/null || true)
  case $said in
    *'setup_gpu.sh exited with 0'*)
      printf '%s\n' "$said"
      exit
      ;;
    *'setup_gpu.sh exited with'*)
      printf '%s\n' "$said" >&2
      exit 1
      ;;
  esac
  sleep 5
done
printf '%s: setup_gpu.sh has not come to an end within 10 minutes\n' "${0##*/}" >&2
exit 1
