# TN_TEST_KEEP=/tmp/events build/tests/test_events && python tests/reference/read_events.py /tmp/events
# reads what test_events.c wrote with TensorBoard's own reader; without a folder it writes event_record.h by TensorBoard's own writer.
import io, math, os, sys
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

if len(sys.argv) < 2:
    value = summary_pb2.Summary.Value(tag="loss/a", simple_value=0.25)
    event = event_pb2.Event(wall_time=1700000000.5, step=3, summary=summary_pb2.Summary(value=[value]))
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    text = ", ".join(map(str, buffer.getvalue()))
    here = os.path.dirname(os.path.abspath(__file__))
    open(os.path.join(here, "event_record.h"), "w").write(f"/* Made by read_events.py. */\n{text}\n")
else:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    log = EventAccumulator(os.path.join(sys.argv[1], "run"), size_guidance={"scalars": 0})
    log.Reload()
    a, b = log.Scalars("loss/a"), log.Scalars("b")
    assert [(e.wall_time, e.step, e.value) for e in a] == [(1700000000.5, 3, 0.25)], a
    assert [e.step for e in b] == [300, -1] and math.isnan(b[0].value) and math.isinf(b[1].value), b
    print("TensorBoard reads", log.Tags()["scalars"])
