#!/bin/sh
# Makes the reference numbers of this folder again, from the executable specification. See README.md.
#   tests/golden/make.sh ORACLE OUT        needs a python3 ($TRAJGAN_PYTHON) with torch, numpy and safetensors
set -eu
oracle=${1:?the folder of oracle.py}
out=${2:?where the files go}
python=${TRAJGAN_PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1
"$python" "$oracle/make_golden.py" --out "$out"
"$python" "$oracle/make_golden.py" --odd --out "$out/odd"
# Large and no other shape than their small sisters': tests read them from ../shared/golden where that is there.
rm "$out/autoencoder_default.safetensors" "$out/generate_recommended.safetensors"
# Of the odd ones, what does not depend on sizes, and what the loss cases contain.
cd "$out/odd"
rm optimizer_*.safetensors lr_schedules.safetensors metrics.safetensors encoder_eval.safetensors
rm critic_multiscale.safetensors critic_projection.safetensors critic_projection_sn.safetensors
rm critic_standard.safetensors critic_standard_sn.safetensors
