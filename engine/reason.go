package engine

// Reason says why an image, or a whole review, was decided as it was. The set is closed: the snake_case name of a
// Reason is the same in metrics, audit annotations, logs and the command line's JSON. Free text is for people only.
type Reason uint8

// The reasons of a verdict. A definite reason rests on facts and may be remembered for a policy's denyTTL or
// allowTTL; a transient one says that the facts could not be had, and what then happens is the policy's onError, but for ReasonRegistryMalformed.
const (
	ReasonUnknown Reason = iota

	// Allowed.
	ReasonPassed    // every policy that matches the image passes
	ReasonNoMatch   // no policy matches the image; the configuration's noMatch decides
	ReasonUnchanged // the object had the image before, and every policy that matches lets such images stay
	ReasonPinned    // not judged: to be replaced with the same and a digest
	ReasonNotPinned // not judged: to stay as it is, because it has a digest, or no policy that matches pins

	// Denied by the request itself.
	ReasonInvalidRequest   // the review is unusable: not JSON, wrong kind, no containers, too large
	ReasonInvalidReference // the image string is no image reference

	// Denied by a rule.
	ReasonTagDenied           // the tag is on the policy's tags.deny
	ReasonDigestRequired      // the policy wants a digest and the image has none
	ReasonStaticFail          // an authority of action fail, and no other passed
	ReasonRegistryNotListed   // a rule needs facts from a registry that the configuration does not list
	ReasonImageNotFound       // the registry says that there is no such image
	ReasonSignatureMissing    // there is no signature for the digest
	ReasonSignatureInvalid    // there are signatures, or attestations, none of them by what the authority trusts
	ReasonClaimMismatch       // by what the authority trusts, but for another digest, or claimed to be for another repository
	ReasonAnnotationsMismatch // by whom the authority names, but without the annotations that it asks for
	ReasonIdentityMismatch    // by what the authority trusts, but by somebody whom it does not name
	ReasonSignatureExpired    // nothing vouches that the certificate was valid when it signed, or the signature is too old
	ReasonAttestationMissing  // there is no attestation of the type that the authority asks for
	ReasonPredicateRefused    // there is one, and the policy's expression does not hold for it
	ReasonPlatformMissing     // the index has none of the platforms that the policy names, or keeps them in further indexes

	// Undecidable for now: the policy's onError decides, and nothing longer than a moment is remembered. There is one
	// exception, ReasonRegistryMalformed: that is remembered no longer, but denies whatever onError says, since whoever may
	// push to a registry can bring it about.
	ReasonTrustRootMissing    // a trusted root that is fetched has not been had yet
	ReasonRegistryDenied      // 401 or 403 from the registry
	ReasonRegistryThrottled   // 429 from the registry
	ReasonRegistryUnavailable // no connection, or 5xx
	ReasonRegistryMalformed   // an answer that breaks the protocol, lies about a digest or is too large
	ReasonTimeout             // the deadline of the review, or of one registry request
	ReasonOverloaded          // too much work is under way already
	ReasonInternal            // a fault of ours, or a recovered panic

	numReasons
)

var reasonNames = [numReasons]string{
	ReasonUnknown:             "unknown",
	ReasonPassed:              "passed",
	ReasonNoMatch:             "no_match",
	ReasonUnchanged:           "unchanged",
	ReasonPinned:              "pinned",
	ReasonNotPinned:           "not_pinned",
	ReasonInvalidRequest:      "invalid_request",
	ReasonInvalidReference:    "invalid_reference",
	ReasonTagDenied:           "tag_denied",
	ReasonDigestRequired:      "digest_required",
	ReasonStaticFail:          "static_fail",
	ReasonRegistryNotListed:   "registry_not_listed",
	ReasonImageNotFound:       "image_not_found",
	ReasonSignatureMissing:    "signature_missing",
	ReasonSignatureInvalid:    "signature_invalid",
	ReasonClaimMismatch:       "claim_mismatch",
	ReasonAnnotationsMismatch: "annotations_mismatch",
	ReasonIdentityMismatch:    "identity_mismatch",
	ReasonSignatureExpired:    "signature_expired",
	ReasonAttestationMissing:  "attestation_missing",
	ReasonPredicateRefused:    "predicate_refused",
	ReasonPlatformMissing:     "platform_missing",
	ReasonTrustRootMissing:    "trust_root_missing",
	ReasonRegistryDenied:      "registry_denied",
	ReasonRegistryThrottled:   "registry_throttled",
	ReasonRegistryUnavailable: "registry_unavailable",
	ReasonRegistryMalformed:   "registry_malformed",
	ReasonTimeout:             "timeout",
	ReasonOverloaded:          "overloaded",
	ReasonInternal:            "internal",
}

// String returns the stable snake_case name.
func (r Reason) String() string {
	if r < numReasons {
		return reasonNames[r]
	}
	return reasonNames[ReasonUnknown]
}

// Transient tells whether r says that the facts could not be had, rather than what they are. A transient reason is
// never remembered as a denial for longer than a moment.
func (r Reason) Transient() bool { return r >= ReasonTrustRootMissing && r < numReasons }

// Reasons lists every Reason, for metrics that want all their label values from the start.
func Reasons() []Reason {
	all := make([]Reason, numReasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}
