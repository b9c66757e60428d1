"""Prints the literal of the frame test in crates/trefoil-train/src/tensorboard.rs (needs tensorboard)."""

import io

from tensorboard.summary.writer.record_writer import RecordWriter

buffer = io.BytesIO()
RecordWriter(buffer).write(b"hello")
print(list(buffer.getvalue()))
