// The frames of EUB Chain (docs/protocol/network.md): u32 length of the body, u8 kind, body; a body is msgpack.
import { decode, encode } from '@msgpack/msgpack'

export const HELLO = 1
export const STATUS = 2
export const GOODBYE = 8
export const NOTHING = 50
export const PROTOCOL_VERSION = 2

const HEADER_BYTES = 5
const BODY_BYTES_MAX = 1024 // of the kinds that are read here; a longer body is skipped

export function frame (kind, fields) {
  return framed(kind, encode(fields))
}

function framed (kind, body) {
  const bytes = new Uint8Array(HEADER_BYTES + body.length)
  new DataView(bytes.buffer).setUint32(0, body.length)
  bytes[4] = kind
  bytes.set(body, HEADER_BYTES)
  return bytes
}

// Records are arrays, their fields in the order of docs/protocol/records.md.
export function hello (genesis, chainId, instance) {
  const height = 0, moniker = 'js-libp2p', address = '', validatorKey = null, signature = null
  return frame(HELLO, [
    PROTOCOL_VERSION, chainId, genesis, height, moniker, address, validatorKey, signature, instance
  ])
}

export function status () {
  const height = 0, lowest = 0, round = 0, wanted = null, waiting = 0
  return frame(STATUS, [height, lowest, round, wanted, waiting])
}

export function nothing () {
  return framed(NOTHING, new Uint8Array(0))
}

// Give back the frames that stand in a stream of bytes, however it is cut.
export async function * frames (stream) {
  let held = new Uint8Array(0)
  for await (const piece of stream) {
    const data = piece.subarray()
    const joined = new Uint8Array(held.length + data.length)
    joined.set(held)
    joined.set(data, held.length)
    held = joined
    while (held.length >= HEADER_BYTES) {
      const length = new DataView(held.buffer, held.byteOffset).getUint32(0)
      if (held.length < HEADER_BYTES + length) break
      const body = held.subarray(HEADER_BYTES, HEADER_BYTES + length)
      yield { kind: held[4], fields: length > 0 && length <= BODY_BYTES_MAX ? decode(body) : null }
      held = held.subarray(HEADER_BYTES + length)
    }
  }
}
