#!/bin/sh
# Score a pool with a SLURM array, each task a part of it, all into one folder:
#
#     sbatch --array=0-15 examples/engines/slurm.sh frames.parquet model.onnx scored/
#
# A task that ended early may simply be submitted again: it continues.
#SBATCH --job-name=deal
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
set -eu
pool=$1 model=$2 output=$3
exec deal-score "$pool" --model "$model" --output "$output" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --previews 0 --quiet
