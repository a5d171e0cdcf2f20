//! The seams between the core and the world, one trait a file
