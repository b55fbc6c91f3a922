"""What can be found out before a run costs anything: sources, disk, devices, the cluster, the judge, a few samples."""
