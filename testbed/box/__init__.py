"""EC2 in a box: machines that really boot, in namespaces of this host."""
