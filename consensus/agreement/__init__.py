"""Agreement among validators: Tendermint as a pure machine (arXiv:1807.04938).

Here: messages (what travels), inputs and effects (the machine's edges), votes (counting), state, rules and
machine (Algorithm 1), rebroadcast, replay, evidence, proposer.
Not here: who carries effects out, and when (eubchain/node).

What whoever drives the machine keeps:

- Inputs are of the state's height, verified, one after the other. Messages of later heights wait outside.
- If `step` returns the same state object, the input needs no record; otherwise it is appended to the log
  before the effects are carried out, and the bytes of a block before the input that says it is here.
- Before a signature is asked for, the log is synced; before it leaves, the signer's memory is. What was
  signed comes back as an input, marked as this node's own. A refusal is silence.
- Every `RequestBlock`, `RequestValidity` and `BuildBlock` is answered sooner or later, or its height ends.
- After `Decide` the machine only counts late precommits; the next `StartHeight` begins anew.
"""
