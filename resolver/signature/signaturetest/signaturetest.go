// Package signaturetest makes signatures, attestations and bundles for tests, without servers: keyless ones with
// sigstore-go's virtual instance, and every format that cosign writes.
package signaturetest
