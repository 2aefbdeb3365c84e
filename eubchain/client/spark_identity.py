"""The age identity of a spark: derived from its account's key, so that nothing more need be kept.

Here: `spark_identity`. Not here: the account's words (eubchain/wallet), sealing (spark_node/storage).
Keeps: whoever restores the account can open what was sealed to its spark; the identity says nothing
about the account's key.
"""

from __future__ import annotations

from pyrage.x25519 import Identity

from consensus.types.hashing import Tag, tagged_hash
from consensus.types.keys import SecretKey
from spark_node.storage.age_keys import identity_from_secret


def spark_identity(key: SecretKey) -> Identity:
    """The identity that grants to this account's spark are sealed to."""
    return identity_from_secret(tagged_hash(Tag.SPARK_IDENTITY, key.secret()))
