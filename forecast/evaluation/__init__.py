"""How good forecasts are: metrics, baselines, the backtest that replays the predictor, and the report."""
