"""Score a folder of images with Spark: one part per Arrow batch, written where it is scored.

    PYSPARK_PYTHON=$(which python) python examples/engines/with_spark.py /pool model.onnx /scored

Or by spark-submit. The folder may be anything that Spark reads (hdfs://, s3a://); model and output
lie where every executor finds them. Afterwards: deal select /scored --budget 500
"""

import sys
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import SparkSession

import deal

pool, model, output = sys.argv[1:]
scorer = deal.BatchScorer(model)


def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = scorer(pa.Table.from_batches([batch]))
        deal.results.write(rows, output)
        yield rows.select(["id", "status", "error"]).combine_chunks().to_batches()[0]


spark = SparkSession.builder.config(
    "spark.sql.execution.arrow.maxRecordsPerBatch", 256
).getOrCreate()
files = spark.read.format("binaryFile").option("recursiveFileLookup", True).load(pool)
items = files.selectExpr("regexp_replace(path, '^file:', '') AS uri", "content AS bytes")
items = items.selectExpr(f"replace(uri, '{pool.rstrip('/')}/', '') AS id", "uri", "bytes")
result = items.mapInArrow(score, "id string, status string, error string")
result.groupBy("status").count().show()
spark.stop()
