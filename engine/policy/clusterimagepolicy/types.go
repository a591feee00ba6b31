package clusterimagepolicy

// The types of this file are the documents as policy-controller defines them (pkg/apis/policy, v1alpha1 and v1beta1, which
// differ in what they default and not in their fields; its conversion takes one for the other). Empty values and absent
// ones are the same there, and so here.

// document is a ClusterImagePolicy, a TrustRoot, or a list of them. Which fields belong to which is checked apart.
type document struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Metadata   metadata   `yaml:"metadata"`
	Spec       spec       `yaml:"spec"`
	Status     *status    `yaml:"status"`
	Items      []document `yaml:"items"`
}

// metadata is Kubernetes' own. Of it the name matters.
type metadata struct {
	Name                       string            `yaml:"name"`
	Namespace                  string            `yaml:"namespace"`
	Labels                     map[string]string `yaml:"labels"`
	Annotations                map[string]string `yaml:"annotations"`
	UID                        string            `yaml:"uid"`
	ResourceVersion            string            `yaml:"resourceVersion"`
	Generation                 int64             `yaml:"generation"`
	CreationTimestamp          string            `yaml:"creationTimestamp"`
	DeletionTimestamp          string            `yaml:"deletionTimestamp"`
	DeletionGracePeriodSeconds int64             `yaml:"deletionGracePeriodSeconds"`
	GenerateName               string            `yaml:"generateName"`
	SelfLink                   string            `yaml:"selfLink"`
	Continue                   string            `yaml:"continue"`
	Finalizers                 []string          `yaml:"finalizers"`
	OwnerReferences            []ownerReference  `yaml:"ownerReferences"`
	ManagedFields              []managedFields   `yaml:"managedFields"`
}

// others are the fields of metadata that say nothing about what is asked of an image.
func (metadata) others() []string {
	return []string{
		"namespace", "labels", "annotations", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "generateName", "selfLink", "continue", "finalizers", "ownerReferences", "managedFields",
	}
}

type ownerReference struct {
	APIVersion         string `yaml:"apiVersion"`
	Kind               string `yaml:"kind"`
	Name               string `yaml:"name"`
	UID                string `yaml:"uid"`
	Controller         bool   `yaml:"controller"`
	BlockOwnerDeletion bool   `yaml:"blockOwnerDeletion"`
}

type managedFields struct {
	APIVersion  string   `yaml:"apiVersion"`
	FieldsType  string   `yaml:"fieldsType"`
	FieldsV1    fieldSet `yaml:"fieldsV1"`
	Manager     string   `yaml:"manager"`
	Operation   string   `yaml:"operation"`
	Subresource string   `yaml:"subresource"`
	Time        string   `yaml:"time"`
}

type fieldSet map[string]fieldSet

type status struct {
	ObservedGeneration int64             `yaml:"observedGeneration"`
	Annotations        map[string]string `yaml:"annotations"`
	Conditions         []condition       `yaml:"conditions"`
}

type condition struct {
	Type               string `yaml:"type"`
	Status             string `yaml:"status"`
	Severity           string `yaml:"severity"`
	Reason             string `yaml:"reason"`
	Message            string `yaml:"message"`
	LastTransitionTime string `yaml:"lastTransitionTime"`
}

// spec has the fields of both kinds.
type spec struct {
	Images      []imagePattern  `yaml:"images"`
	Authorities []authority     `yaml:"authorities"`
	Policy      *policy         `yaml:"policy"`
	Mode        string          `yaml:"mode"`
	Match       []matchResource `yaml:"match"`

	Remote          *remote       `yaml:"remote"`
	Repository      *repository   `yaml:"repository"`
	SigstoreKeys    *sigstoreKeys `yaml:"sigstoreKeys"`
	TrustedRootJSON string        `yaml:"trustedRootJSON"`
}

// fieldsOf names the fields of a kind's spec.
func (spec) fieldsOf(kind string) []string {
	if kind == TrustRoot {
		return []string{"remote", "repository", "sigstoreKeys", "trustedRootJSON"}
	}
	return []string{"images", "authorities", "policy", "mode", "match"}
}

type imagePattern struct {
	Glob string `yaml:"glob"`
}

type authority struct {
	Name             string            `yaml:"name"`
	Key              *keyRef           `yaml:"key"`
	Keyless          *keylessRef       `yaml:"keyless"`
	Static           *staticRef        `yaml:"static"`
	Sources          []source          `yaml:"source"`
	CTLog            *tlog             `yaml:"ctlog"`
	Attestations     []attestation     `yaml:"attestations"`
	RFC3161Timestamp *rfc3161timestamp `yaml:"rfc3161timestamp"`
	SignatureFormat  string            `yaml:"signatureFormat"`
}

type keyRef struct {
	SecretRef     *secretRef `yaml:"secretRef"`
	Data          string     `yaml:"data"`
	KMS           string     `yaml:"kms"`
	HashAlgorithm string     `yaml:"hashAlgorithm"`
}

type secretRef struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
}

type staticRef struct {
	Action  string `yaml:"action"`
	Message string `yaml:"message"`
}

type source struct {
	OCI                  string      `yaml:"oci"`
	SignaturePullSecrets []secretRef `yaml:"signaturePullSecrets"`
	TagPrefix            string      `yaml:"tagPrefix"`
}

type tlog struct {
	URL          string `yaml:"url"`
	TrustRootRef string `yaml:"trustRootRef"`
}

type keylessRef struct {
	URL               string     `yaml:"url"`
	Identities        []identity `yaml:"identities"`
	CACert            *keyRef    `yaml:"ca-cert"`
	TrustRootRef      string     `yaml:"trustRootRef"`
	InsecureIgnoreSCT bool       `yaml:"insecureIgnoreSCT"`
}

type identity struct {
	Issuer        string `yaml:"issuer"`
	Subject       string `yaml:"subject"`
	IssuerRegExp  string `yaml:"issuerRegExp"`
	SubjectRegExp string `yaml:"subjectRegExp"`
}

type attestation struct {
	Name          string  `yaml:"name"`
	PredicateType string  `yaml:"predicateType"`
	Policy        *policy `yaml:"policy"`
}

type policy struct {
	Type              string        `yaml:"type"`
	Data              string        `yaml:"data"`
	URL               string        `yaml:"url"` // of early v1alpha1
	Remote            *remotePolicy `yaml:"remote"`
	ConfigMapRef      *configMapRef `yaml:"configMapRef"`
	FetchConfigFile   bool          `yaml:"fetchConfigFile"`
	IncludeSpec       bool          `yaml:"includeSpec"`
	IncludeObjectMeta bool          `yaml:"includeObjectMeta"`
	IncludeTypeMeta   bool          `yaml:"includeTypeMeta"`
}

type remotePolicy struct {
	URL       string `yaml:"url"`
	SHA256Sum string `yaml:"sha256sum"`
}

type configMapRef struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
	Key       string `yaml:"key"`
}

type matchResource struct {
	Group    string         `yaml:"group"`
	Version  string         `yaml:"version"`
	Resource string         `yaml:"resource"`
	Selector *labelSelector `yaml:"selector"`
}

type labelSelector struct {
	MatchLabels      map[string]string `yaml:"matchLabels"`
	MatchExpressions []struct {
		Key      string   `yaml:"key"`
		Operator string   `yaml:"operator"`
		Values   []string `yaml:"values"`
	} `yaml:"matchExpressions"`
}

type rfc3161timestamp struct {
	TrustRootRef string `yaml:"trustRootRef"`
}

// The fields below that are bytes there are base64 here; early documents have them as plain text.

type remote struct {
	Root              string `yaml:"root"`
	Mirror            string `yaml:"mirror"`
	Targets           string `yaml:"targets"`
	TrustedRootTarget string `yaml:"trustedRootTarget"`
}

type repository struct {
	Root              string `yaml:"root"`
	MirrorFS          string `yaml:"mirrorFS"`
	Targets           string `yaml:"targets"`
	TrustedRootTarget string `yaml:"trustedRootTarget"`
}

type sigstoreKeys struct {
	CertificateAuthorities []certificateAuthority `yaml:"certificateAuthorities"`
	TLogs                  []logInstance          `yaml:"tLogs"`
	CTLogs                 []logInstance          `yaml:"ctLogs"`
	TimestampAuthorities   []certificateAuthority `yaml:"timestampAuthorities"`
}

type certificateAuthority struct {
	Subject   *distinguishedName `yaml:"subject"`
	URI       string             `yaml:"uri"`
	CertChain string             `yaml:"certChain"`
}

type distinguishedName struct {
	Organization string `yaml:"organization"`
	CommonName   string `yaml:"commonName"`
}

type logInstance struct {
	BaseURL       string `yaml:"baseURL"`
	HashAlgorithm string `yaml:"hashAlgorithm"`
	PublicKey     string `yaml:"publicKey"`
}
