"""Reads every event of a log folder with the tensorboard package and prints what it found as JSON.

The accumulator checks each record's checksum; the projector's plugin reads its files as the page does.
"""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = sys.argv[1]
events = EventAccumulator(folder, size_guidance={kind: 0 for kind in ("scalars", "images", "histograms", "tensors")})
events.Reload()
tags = events.Tags()
found = {
    "scalars": {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "images": {
        tag: [(e.step, e.width, e.height, list(e.encoded_image_string[:8])) for e in events.Images(tag)]
        for tag in tags["images"]
    },
    "histograms": {
        tag: [
            (e.step, e.histogram_value.min, e.histogram_value.max, e.histogram_value.num, sum(e.histogram_value.bucket))
            for e in events.Histograms(tag)
        ]
        for tag in tags["histograms"]
    },
}

from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

config = ProjectorConfig()
with open(f"{folder}/projector_config.pbtxt") as text:
    text_format.Parse(text.read(), config)
rows = lambda name: [line.rstrip("\n").split("\t") for line in open(f"{folder}/{name}")]
found["vectors"] = [len(row) for row in rows(config.embeddings[0].tensor_path)]
found["metadata"] = rows(config.embeddings[0].metadata_path)
json.dump(found, sys.stdout)
