"""Counts the spans of Vivace's blocks with DuckDB and with pyarrow, as anyone might who has the bucket.

Usage: count_blocks.py FOLDER

Prints JSON: {"duckdb": COUNTS, "pyarrow": COUNTS}, COUNTS being {"spans": n, "traces": n, "services": {"name": n}}.
"""

import json
import pathlib
import sys

import duckdb
import pyarrow.dataset as dataset


def by_duckdb(folder):
    """The counts in SQL."""
    connection = duckdb.connect()
    source = f"read_parquet('{folder}/**/*.parquet', union_by_name = true, hive_partitioning = true)"
    ((spans, traces),) = connection.sql(f"SELECT count(*), count(DISTINCT trace_id) FROM {source}").fetchall()
    services = connection.sql(f'SELECT "resource.service.name", count(*) FROM {source} GROUP BY 1').fetchall()
    # What people do first: group by a piece of time.
    by_minute = connection.sql(f"SELECT date_trunc('minute', start_time), count(*) FROM {source} GROUP BY 1").fetchall()
    assert sum(count for _, count in by_minute) == spans, by_minute
    return {"spans": spans, "traces": traces, "services": dict(services)}


def by_pyarrow(folder):
    """The counts with Arrow, file by file, since each block has columns of its own."""
    spans = 0
    traces = set()
    services = {}
    for path in sorted(pathlib.Path(folder).rglob("*.parquet")):
        # All columns, so that there is none that Arrow cannot read.
        table = dataset.dataset(path, format="parquet").to_table()
        spans += table.num_rows
        traces.update(table["trace_id"].to_pylist())
        for row in table.group_by("resource.service.name").aggregate([([], "count_all")]).to_pylist():
            service = row["resource.service.name"]
            services[service] = services.get(service, 0) + row["count_all"]
    return {"spans": spans, "traces": len(traces), "services": services}


def main():
    """Counts twice."""
    folder = sys.argv[1]
    print(json.dumps({"duckdb": by_duckdb(folder), "pyarrow": by_pyarrow(folder)}))


if __name__ == "__main__":
    main()
