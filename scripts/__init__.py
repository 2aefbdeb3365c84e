"""One-word scripts of this repository and the Python behind them."""
