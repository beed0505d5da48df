"""Container images: made, kept, and brought into a cluster's containerd."""
