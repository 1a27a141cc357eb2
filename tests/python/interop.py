"""The reference networks on the inputs of tests/python_interop.rs.

    python interop.py ORACLE CONFIG INPUTS OUT [WEIGHTS]

ORACLE: the folder of oracle.py; CONFIG: JSON of the settings that oracle.Config has; INPUTS: a safetensors file with
x (B,T,F), lengths (B), z (B,S), noise (B,N), condition (B,C). Without WEIGHTS a new model is made and its state_dict
written to OUT/weights.safetensors, else WEIGHTS is loaded, but for tensors that no network has (data.* and train.*).
The outputs, computed in float64, are written to OUT/outputs.safetensors. Needs torch and safetensors.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

oracle, config, inputs, out, *weights = sys.argv[1:]
sys.path.insert(0, oracle)
sys.dont_write_bytecode = True
import oracle as O

fields = O.Config.__dataclass_fields__
config = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(config).items() if k in fields}
torch.manual_seed(3)
model = O.Model(O.Config(**config))
if weights:
    state = {k: v for k, v in load_file(weights[0]).items() if not k.startswith(("data.", "train."))}
    model.load_state_dict(state, strict=True)
else:
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, Path(out) / "weights.safetensors")
model = model.double().eval()
given = {k: v if k == "lengths" else v.double() for k, v in load_file(inputs).items()}
with torch.no_grad():
    results = {
        "encoded": model.encode(given["x"], given["lengths"]),
        "decoded": model.decode(given["z"], given["x"].shape[1]),
        "generated": model.generator(given["noise"], given["condition"]),
        "scores": model.discriminator(given["z"], given["condition"])[:, 0],
    }
save_file({k: v.float().contiguous() for k, v in results.items()}, Path(out) / "outputs.safetensors")
