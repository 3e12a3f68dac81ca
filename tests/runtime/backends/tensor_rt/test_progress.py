from biounet_edge.backends.tensor_rt.progress import ProgressListener


def test_progress_listener_reports_a_fraction_that_never_falls():
    states = []
    listener = ProgressListener("cam.onnx", states.append)
    listener.start("Building", 2)
    listener.start("Tactics", 1)
    listener.step("Tactics", 0)
    listener.finish("Tactics")
    listener.start("Weights", 10)  # before the builder has counted the step that Tactics was
    assert [state.fraction for state in states] == [0.0, 0.0, 0.5]


def test_progress_listener_reports_steps_ten_times_a_second_at_most():
    states = []
    listener = ProgressListener("cam.onnx", states.append)
    listener.start("Cloning", 5000)
    assert all(listener.step("Cloning", step) for step in range(5000))
    assert 1 <= len(states) < 20
