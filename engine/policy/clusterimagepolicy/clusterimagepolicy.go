// Package clusterimagepolicy translates sigstore's ClusterImagePolicy and TrustRoot documents, of
// policy.sigstore.dev/v1alpha1 and v1beta1, into image policies.
//
// It decides what each field means here, and reports every one that it can't keep. It never makes a policy weaker
// without saying so.
package clusterimagepolicy
