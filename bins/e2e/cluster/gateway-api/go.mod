// Where the custom resource definitions of the Gateway API come from: `cargo xtask cluster`.
module meshkit/e2e/gateway-api

go 1.25.0

require sigs.k8s.io/gateway-api v1.5.1
