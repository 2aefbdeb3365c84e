"""The network between nodes: frames, channels, gossip, requests and peers over libp2p."""
