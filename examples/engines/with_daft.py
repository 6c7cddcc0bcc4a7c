"""Score a folder of images with Daft: one part per batch, written where it is scored.

    python examples/engines/with_daft.py /pool model.onnx /scored

The folder may be anything that Daft reads (s3://, gs://, az://); on a cluster, model and output lie
where every worker finds them. Afterwards: deal select /scored --budget 500
"""

import sys

import daft
import pyarrow as pa

import deal

pool, model, output = sys.argv[1:]
scorer = deal.BatchScorer(model)


@daft.func.batch(return_dtype=daft.DataType.string(), batch_size=256)
def score(uri: daft.Series, data: daft.Series) -> pa.Array:
    uris = [one.removeprefix("file://") for one in uri.to_pylist()]
    ids = [one.removeprefix(pool.rstrip("/") + "/") for one in uris]
    rows = scorer(pa.table({"id": ids, "uri": uris, "bytes": data.to_arrow()}))
    deal.results.write(rows, output)
    return rows.column("status").combine_chunks()


files = daft.from_glob_path(f"{pool.rstrip('/')}/**/*.*")
content = files["path"].download(on_error="null")
files.select(score(files["path"], content).alias("status")).groupby("status").agg(
    daft.col("status").count().alias("images")
).show()
