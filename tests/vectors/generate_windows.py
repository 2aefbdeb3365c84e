"""Write windows.json: a chain of windows, block by block, that another implementation must go through alike.

Here: what stands in the file. Not here: what happens (window_story.py), the second implementation
(tests/unit/test_window_vectors.py), which shows how to read it.
Bytes are hexadecimal, amounts grains, S in 2⁻¹⁶ tiles. Rewrite the file with
`python -m tests.vectors.generate_windows`; a commit that moves it says so.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from consensus.types.amounts import PPB
from tests.vectors.window_story import PARAMS, tell

HERE = Path(__file__).parent


@cache
def files() -> dict[str, str]:
    """The text of the file, a block a line."""
    resource = PARAMS.resource
    parameters = {
        "epoch_blocks": PARAMS.chain.epoch_blocks,
        "window_wait_blocks": resource.window_wait_blocks,
        "window_blocks": resource.window_blocks,
        "grace_blocks": resource.grace_blocks,
        "verify_blocks": resource.verify_blocks,
        "difficulty_min": resource.difficulty_min,
        "verify_budget": resource.verify_budget,
        "spark_bond": resource.spark_bond,
    }
    rows = ",\n".join(json.dumps(row) for row in tell().rows)
    head = json.dumps({"parameters": parameters, "weight_reputation": PPB // 2}, indent=1)[:-2]
    return {"windows.json": f'{head},\n "blocks": [\n{rows}\n]}}\n'}


if __name__ == "__main__":
    for file_name, text in files().items():
        (HERE / file_name).write_text(text)
        print(f"{file_name}: {len(text)} bytes")
