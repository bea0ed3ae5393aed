//! STATUS: can ADD be served? It always can: pods that are not in the mesh pass without agent and proxy, and a pod that has
//! to wait for one of them is told so by its own ADD (error 11). Were STATUS to fail meanwhile, the kubelet would start
//! no pod at all on the node, the proxy that is waited for included (docs/adr/0013-cni-status.md).

use crate::spec::config::Config;
use crate::spec::error::CniError;
use crate::verb::since_1_1;

/// Only a configuration that ADD would refuse too is an error.
pub(crate) fn status(stdin: &[u8]) -> Result<(), CniError> {
    since_1_1(&Config::parse(stdin)?, "STATUS")
}
