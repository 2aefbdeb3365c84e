"""Write resource.json and validators.json: figures that another implementation must reproduce.

Here: the cases and the call of each rule. Not here: the comparison (tests/unit/test_resource_vectors.py).
Bytes are hexadecimal, amounts grains, fractions parts per billion. Rewrite both files with
`python -m tests.vectors.generate_resource`; a commit that moves a figure says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from consensus import beacon as be
from consensus import validators as va
from consensus.resource import (
    coefficient,
    difficulty,
    explain,
    proof,
    reputation,
    share,
    weight,
    windows,
)
from consensus.resource.reputation import Standing
from consensus.types.amounts import PPB, eubc
from consensus.types.codec import encode
from consensus.types.errors import Rejected
from consensus.types.hashing import Tag, tagged_hash

HERE = Path(__file__).parent
SEED = bytes(range(32))
OWNER = bytes(range(32, 64))
ACCOUNT = bytes(range(20))
PROFILE = share.PROFILES[1]


def share_vectors() -> dict[str, Any]:
    """Keys, panels, products, digests and tickets of profile 1."""
    keys = share.panel_keys(PROFILE, 1000, SEED, OWNER)
    kind = share.operand_type()
    tiles = []
    for p, q in ((0, 0), (1, 2), (0, 6), (2**24 - 1, 2**24 - 1)):
        a, b = share.panel_a(keys, PROFILE, p), share.panel_b(keys, PROFILE, q)
        c = share.product(a.astype(kind), b.astype(kind))
        sums, d0, d1 = share.digest_words(keys, c)
        tiles.append(
            {
                "p": p, "q": q,
                "a_first": a[0, :8].tolist(), "a_last": a[63, -4:].tolist(), "b_first": b[0, :8].tolist(),
                "c00": int(c[0, 0]), "c12": int(c[1, 2]), "c6363": int(c[63, 63]),
                "s0": f"{int(sums[0]):08x}", "s63": f"{int(sums[63]):08x}",
                "d": [f"{d0:08x}", f"{d1:08x}"], "ticket": f"{share.tile_ticket(keys, c):016x}",
            }
        )  # fmt: skip
    rails = []
    for entry in (134217728, -133169152):
        c = np.full((PROFILE.rows, PROFILE.rows), entry, dtype=np.int32)
        rails.append({"entry": entry, "ticket": f"{share.tile_ticket(keys, c):016x}"})
    found = [[p, q] for p in range(16) for q in range(16) if share.is_share(share.ticket(keys, p, q), 64)]
    of_account = share.panel_keys(PROFILE, 1000, SEED, share.owner_bytes(ACCOUNT))
    return {
        "mix": [[x, f"{share.mix(x):08x}"] for x in (0, 1, 2, 2**32 - 1)],
        "profile": PROFILE._asdict(),
        "window": 1000, "seed": SEED.hex(), "owner": OWNER.hex(),
        "keys": [f"{word:08x}" for word in keys],
        "tiles": tiles,
        "rails": rails,
        "shares_of_difficulty_64_below_16": found,
        "account": ACCOUNT.hex(),
        "account_keys": [f"{word:08x}" for word in of_account],
    }  # fmt: skip


def proof_vectors() -> dict[str, Any]:
    """Encodings, refusals and samples."""
    sound = [proof.make_proof(1000, tiles) for tiles in ([], [(0, 6), (1, 12)], [(2**24 - 1, 2**24 - 1)])]
    broken = [
        proof.Proof(2, 1000, 0, b""),
        proof.Proof(1, 1000, 2, proof.share_bytes([(0, 6)])),
        proof.Proof(1, 1000, 57, proof.share_bytes([(0, q) for q in range(57)])),
        proof.Proof(1, 1000, 1, proof.share_bytes([(2**24, 0)])),
        proof.Proof(1, 1000, 2, proof.share_bytes([(1, 12), (0, 6)])),
        proof.Proof(1, 1000, 2, proof.share_bytes([(0, 6), (0, 6)])),
    ]
    refused = []
    for case in broken:
        try:
            proof.check_proof(case)
        except Rejected as rejected:
            refused.append(
                {"encoding": encode(case).hex(), "code": rejected.reason.code, "facts": rejected.values()}
            )
    sizes = [[40, 512, 20, 512], [40, 513, 20, 512], [40, 5000, 512, 512], [5, 5000, 512, 512]]
    return {
        "proofs": [
            {"shares": proof.parse_shares(case.shares), "encoding": encode(case).hex()} for case in sound
        ],
        "refused": refused,
        "sample_size": [{"inputs": case, "size": proof.sample_size(*case)} for case in sizes],
        "sample": {
            "beacon": SEED.hex(), "account": ACCOUNT.hex(), "count": 56,
            "sizes": [{"size": v, "checked": proof.sampled(SEED, ACCOUNT, 56, v)} for v in (8, 20, 56)],
        },
    }  # fmt: skip


def window_vectors() -> dict[str, Any]:
    """Announcements, seeds, heights, voids, D' and S'."""
    beacons = [tagged_hash(Tag.BEACON, i.to_bytes(8, "big")) for i in range(100)]
    window = windows.Window(100, 1, 4, 2, 6, 1, 512)
    steps = [(1000, 32), (1000, 56), (1000, 7), (1000, 40), (1000, 0), (1000, 55), (2**40, 56), (3, 7)]
    speeds = [(0, 32000), (262144000, 0), (262144000, 500)]
    voids = [(199, 300, 0, 0), (200, 300, 0, 0), (0, 300, 1, 0), (0, 300, 1, 1), (0, 0, 0, 0)]
    return {
        "announced_of_100_at_mean_10": [i for i in range(100) if windows.is_announced(beacons[i], 10)],
        "seed": windows.window_seed(SEED, OWNER).hex(),
        "heights": {
            "announced": 100, "window": 4, "grace": 2, "verify": 6,
            "opens": windows.opens_at(window), "last_proof": windows.last_proof_at(window),
            "sample_beacon": windows.sample_beacon_at(window), "closes": windows.closes_at(window),
        },
        "void": [
            {"inputs": case, "void": windows.is_void(case[0], case[1], bool(case[2]), bool(case[3]))}
            for case in voids
        ],
        "next_difficulty_of_difficulty_shares": [[*s, difficulty.next_difficulty(*s, 1)] for s in steps],
        "next_speed_of_speed_tiles": [[*s, difficulty.next_speed(*s)] for s in speeds],
    }  # fmt: skip


def standing_vectors() -> dict[str, Any]:
    """Fading tables, a life of outcomes, U, ρ and ρ_w, qualities."""
    unit = 9 * 10**12
    lives, now = [], reputation.NO_STANDING
    for name, epoch, amount, quality in (
        ("decided", 1, eubc(7), 860000000), ("audited", 1, eubc(7), 0), ("posted", 5, eubc(3), 0),
        ("lost", 70, eubc(9), 0), ("blamed", 70, eubc(2), 0), ("cheated", 71, 0, 0),
        ("decided", 500, 10**17, PPB // 3),
    ):  # fmt: skip
        match name:
            case "decided":
                now = reputation.add_decided(now, epoch, 6, amount, quality)
            case "audited":
                now = reputation.add_audited(now, epoch, 6, amount)
            case "posted":
                now = reputation.add_posted(now, epoch, 6, amount)
            case "lost":
                now = reputation.add_lost(now, epoch, 6, amount)
            case "blamed":
                now = reputation.add_blame(now, epoch, 6, amount)
            case _:
                now = reputation.add_cheat(now, epoch, 6)
        lives.append(
            {
                "outcome": name,
                "epoch": epoch,
                "amount": amount,
                "quality": quality,
                "encoding": encode(now).hex(),
            }
        )
    cases = [
        (0, 0, 0, 0, 0), (unit, unit // 9, 0, 0, 0), (0, 0, 50 * unit, 0, 0), (0, 0, unit, unit, 0),
        (unit, unit, unit, unit, 2 * PPB), (2**62, 0, 0, 0, 0), (0, 2**62, 0, 0, 0), (1, 1, 1, 1, 1),
    ]  # fmt: skip
    qualities = [
        (PPB, PPB, PPB),
        (PPB // 2, PPB, PPB),
        (PPB, 0, PPB),
        (reputation.SILENCE, reputation.SILENCE, PPB),
    ]
    tables = {shift: reputation.fade_table(shift) for shift in (6, 8, 10)}
    return {
        "fade_tables": [
            {
                "shift": shift,
                "length": len(table),
                "first": table[:4],
                "at_100": table[100],
                "sum": sum(table),
            }
            for shift, table in tables.items()
        ],
        "life_at_shift_6": lives,
        "faded_life": encode(reputation.faded(now, 600, 6)).hex(),
        "unit": [
            {"inputs": case, "unit": reputation.evidence_unit(*case)}
            for case in ((eubc(1) // 20, eubc(6000), 10**8, 10**8, 8), (eubc(1) // 20, eubc(6000), 0, 0, 8))
        ],
        "reputation_at_unit": unit,
        "reputations": [
            {
                "standing": case,
                "evidence": reputation.evidence(Standing(*case, 0), unit),
                "rho": reputation.reputation(Standing(*case, 0), unit),
                "rho_w": reputation.weight_reputation(Standing(*case, 0), unit),
            }
            for case in cases
        ],
        "quality_of_validation_rating_timeliness": [
            [*case, reputation.task_quality(*case)] for case in qualities
        ],
        "timeliness_of_promised_taken": [
            [*case, reputation.timeliness_quality(*case)] for case in ((10, 0), (10, 10), (10, 15), (10, 20))
        ],
    }


def ten_equal_nodes() -> explain.Circumstances:
    """Each has proved a tenth of S_ref; U is 153,600 EUBC, an eighth of it audited good."""
    unit, reference = eubc(153_600), 10**6 << 16
    return explain.Circumstances(
        nodes=[(reference // 10, eubc(1000))] * 10,
        node=3,
        speed_reference=reference,
        evidence_price_min=eubc(1) // 20,
        epoch_reward=eubc(6000),
        fade_shift=8,
        standing=Standing(unit // 8, 0, unit // 4, unit // 40, 0, 100),
        posted=unit // 40,
        qualities=explain.Qualities(900000000, 900000000, 900000000),
    )


def weight_vectors() -> dict[str, Any]:
    """Powers, pool, κ, gas, and κ taken apart."""
    reference = 1000 << 16
    cases = [
        [(0, 60), (0, 40)],
        [(reference, 0), (0, 100)],
        [(reference // 4, 10), (reference // 4, 20), (0, 70)],
    ]
    kappas = [0, 1, 100000000, 333333333, 500000000, 520000000, 523809523, 523809524, 785714286, PPB]
    gases = [
        (1, 1001, PPB // 2, 1),
        (1001, 1001, PPB // 2, 1),
        (1, 10, PPB // 2, 10_000),
        (eubc(5), eubc(6), 0, 1),
    ]
    found = explain.explain(ten_equal_nodes(), eubc(2_400))
    return {
        "speed_reference": reference,
        "powers": [{"nodes": case, "powers": weight.resource_powers(case, reference)} for case in cases],
        "pool": {
            "pool": 1000, "sparks": [[100, PPB // 2], [100, PPB // 4]],
            "paid": weight.pool_payments(1000, [(100, PPB // 2), (100, PPB // 4)]),
        },
        "typical_power": [
            {"powers": case, "typical": coefficient.typical_power(case)}
            for case in ([PPB // 10] * 10, [PPB // 2, 3, 3, 3], [])
        ],
        "power_term": [[p, t, coefficient.power_term(p, t)] for p, t in ((0, 0), (0, 5), (5, 5), (9, 3))],
        "kappa_of_rho_b": [
            [rho, b, coefficient.coefficient(rho, b)] for rho, b in ((PPB // 2, 0), (717500000, PPB // 2))
        ],
        "gas_ratio": [[kappa, coefficient.gas_ratio(kappa)] for kappa in kappas],
        "gas_of_price_maximum_kappa_floor": [[*case, coefficient.gas(*case)] for case in gases],
        "ten_equal_nodes": {
            "kappa": found.kappa, "power": found.power, "typical": found.typical, "b": found.power_term,
            "rho": found.reputation, "unit": found.unit, "price": eubc(2_400),
            "factors": [factor._asdict() for factor in found.factors],
            "events": [event._asdict() for event in found.events],
        },
    }  # fmt: skip


def validator_vectors() -> dict[str, Any]:
    """Sets from weights, their hashes and proposers, a reveal chain, beacons and draws."""
    sets = []
    for name, pairs, most in (
        ("one", [(7, 10)], 16), ("two", [(7, 10)] * 2, 16), ("three", [(7, 10)] * 3, 16),
        ("giant", [(970, 97), (10, 1), (10, 1), (10, 1)], 16),
        ("below the caps", [(10, 1), (20, 1), (20, 1), (25, 1), (25, 1)], 16),
        ("one at its cap", [(900, 5), (25, 5), (25, 5), (50, 5)], 16),
        ("compute without stake", [(1000, 1), (10, 33), (10, 33), (10, 33)], 16),
        ("ties at the limit", [(5, 10), (9, 10), (5, 10), (5, 10), (0, 10)], 3),
        ("nobody", [(0, 10)], 16),
    ):  # fmt: skip
        people = [
            va.Candidate(bytes([i + 1]) * 20, bytes([i + 1]) * 32, *pair) for i, pair in enumerate(pairs)
        ]
        made = va.make_set(people, most)
        sets.append(
            {
                "name": name, "max_validators": most,
                "candidates": [[p.address.hex(), p.key.hex(), p.weight, p.bond] for p in people],
                "powers": [[v.address.hex(), v.power] for v in made],
                "encoding": encode(made).hex(), "hash": va.validators_hash(made).hex(),
            }
        )  # fmt: skip
    equal = va.make_set([va.Candidate(bytes([i]) * 20, bytes([i]) * 32, i, i) for i in (1, 2, 3, 4)], 4)
    proposers = [
        [h, r, va.proposer(equal, SEED, h, r).address.hex()] for h in (1, 2, 3, 2**40) for r in (0, 1, 7)
    ]
    chain = be.RevealChain(SEED, 3, 1000)
    revealed = chain.reveal(chain.commitment)
    start = be.genesis_beacon(OWNER)
    weights = [5, 0, 1, 3, 10**9]
    return {
        "sets": sets,
        "proposers": {"beacon": SEED.hex(), "set": encode(equal).hex(), "height_round_address": proposers},
        "chain": {
            "secret": SEED.hex(), "generation": 3, "length": 1000,
            "x0": chain.checkpoints[0].hex(), "commitment": chain.commitment.hex(),
            "reveals": [revealed.hex(), chain.reveal(revealed).hex()],
        },
        "beacon": {
            "genesis": OWNER.hex(), "beacon_0": start.hex(),
            "beacon_1_by_the_first_reveal": be.next_beacon(start, revealed).hex(),
        },
        "draws": {
            "beacon": SEED.hex(), "context": ACCOUNT.hex(), "weights": weights,
            "drawn": be.draw_weighted(SEED, ACCOUNT, weights, 5),
        },
    }  # fmt: skip


def files() -> dict[str, str]:
    """The text of both files by name."""
    contents = {
        "resource.json": {
            "share": share_vectors(),
            "proof": proof_vectors(),
            "window": window_vectors(),
            "standing": standing_vectors(),
            "weight": weight_vectors(),
        },
        "validators.json": validator_vectors(),
    }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in contents.items()}


if __name__ == "__main__":
    for file_name, text in files().items():
        (HERE / file_name).write_text(text)
        print(f"{file_name}: {len(text)} bytes")
