"""Forecasts as Parquet: one file for each cycle, there whole or not at all, in folders that readers prune by."""

import re
from datetime import date, timedelta
from pathlib import Path

from forecast.disk import make_folder, write_whole
from serve.engine.issued import Issued
from serve.sinks.sink import Sink, chosen

_DAY = "date="

#: A file of ours, or what a crash left of one.
_OURS = re.compile(r"\.?forecast_time=[0-9TZ]+\.parquet(\.\d+\.part)?")


class ParquetSink(Sink):
    """`forecast=NAME/date=YYYY-MM-DD/forecast_time=YYYYMMDDTHHMMSSZ.parquet`: the rows of the forecast contract.

    The same cycle again, or one for the same time that knew more, takes the place of its file.
    """

    def write(self, issued: Issued) -> None:
        of_forecast = Path(self.address.path) / f"forecast={issued.name}"
        folder = of_forecast / f"{_DAY}{issued.time:%Y-%m-%d}"
        make_folder(folder)
        rows = chosen(issued, self.address.levels).table()
        write_whole(folder / f"forecast_time={issued.time:%Y%m%dT%H%M%SZ}.parquet", rows.write_parquet)
        if self.address.days is not None:
            _forget(of_forecast, issued.time.date() - timedelta(days=self.address.days))


def _forget(of_forecast: Path, before: date) -> None:
    """Remove our files of the days before; what is not ours stays, and its folder with it."""
    for folder in of_forecast.glob(f"{_DAY}????-??-??"):
        if folder.name >= f"{_DAY}{before.isoformat()}":
            continue
        for file in folder.iterdir():
            if _OURS.fullmatch(file.name):
                file.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
