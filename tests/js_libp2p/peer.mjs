// A peer of EUB Chain in another language: node peer.mjs GENESIS_HEX CHAIN_ID [ADDRESS]
//
// Listens, dials ADDRESS if there is one, greets everybody whom it is connected to, and says on standard
// output what it hears, a JSON object a line. Ends when its standard input does.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { randomBytes } from 'node:crypto'
import { createLibp2p } from 'libp2p'
import { frames, GOODBYE, HELLO, hello, nothing, STATUS, status } from './frames.mjs'

const [genesisHex, chainId, address] = process.argv.slice(2)
const genesis = Uint8Array.from(Buffer.from(genesisHex, 'hex'))
const instance = Uint8Array.from(randomBytes(16))
const protocol = (channel) => `/eub/${genesisHex.slice(0, 8)}/${channel}/1`
const say = (told) => process.stdout.write(JSON.stringify(told) + '\n')

const libp2p = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping() }
})

// Each side opens its own streams and only writes on them; it reads those that the other side opens.
await libp2p.handle(protocol('cons'), async (stream, connection) => {
  const peer = connection.remotePeer.toString()
  for await (const { kind, fields } of frames(stream)) {
    if (kind === HELLO) say({ hello: { peer, version: fields[0], chain: fields[1], moniker: fields[4] } })
    if (kind === STATUS) say({ status: { peer, height: fields[0] } })
    if (kind === GOODBYE) say({ goodbye: { peer, code: fields[0] } })
  }
})
await libp2p.handle(protocol('pool'), async (stream) => {
  for await (const frame of frames(stream)) void frame
})
// A stream of its own for each request; whoever has no answer says so, for no answer ends the connection.
await libp2p.handle(protocol('req'), async (stream) => {
  for await (const { kind } of frames(stream)) {
    say({ asked: kind })
    stream.send(nothing())
    await stream.close()
    return
  }
})

libp2p.addEventListener('connection:open', async ({ detail: connection }) => {
  const peer = connection.remotePeer
  try {
    const agreement = await connection.newStream(protocol('cons'))
    agreement.send(hello(genesis, chainId, instance))
    await connection.newStream(protocol('pool'))
    const heartbeat = setInterval(() => agreement.send(status()), 2000)
    agreement.addEventListener('close', () => clearInterval(heartbeat))
    say({ ping: { peer: peer.toString(), ms: await libp2p.services.ping.ping(peer) } })
  } catch (error) {
    say({ failed: { peer: peer.toString(), why: String(error) } })
  }
})
libp2p.addEventListener('peer:identify', ({ detail }) => {
  say({ identify: { peer: detail.peerId.toString(), protocols: detail.protocols } })
})

say({ listening: libp2p.getMultiaddrs()[0].toString() })
if (address) await libp2p.dial(multiaddr(address))

process.stdin.resume()
process.stdin.on('end', async () => {
  await libp2p.stop()
  process.exit(0)
})
