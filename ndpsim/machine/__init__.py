"""Devices as systems see them: DIMMs that hold a model, a GPU, a CPU; and the meter, which notes who is busy when."""
