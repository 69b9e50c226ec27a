"""How often the gate is right: simulated retrainings whose challenger is truly worse, equal or better.

Losses of models that differ by their seed alone were recorded day by day over a long range that none of them saw
(`benchmarks.gate.losses`). A retraining draws two of the models and a stretch of days: one is the champion, the other
the challenger, its losses scaled so that over the whole range they are exactly so many percent above or below the
champion's. Day-to-day and entity correlation, weekends and bursts, and how far two seeds stray from each other are all
as recorded.
"""
