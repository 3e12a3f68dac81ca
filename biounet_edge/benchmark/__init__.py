"""What predictions take on this machine: latency and throughput by stage, and the part of its peak."""
