//! Bodies of the fuzz targets, beside the code they exercise so that they cannot rot. Each returns what law a given input
//! broke; the targets and the replay test turn that into a failure.
