{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What tells the release's pods from others. It never changes: a Deployment's selector can't. */ -}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "sluice.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- $repository := required "image.repository is required: where the image was pushed to" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "sluice.certificateSecret" -}}
{{- if eq .Values.certificates.mode "existing" -}}
{{- required "certificates.existing.secretName is required with certificates.mode existing" .Values.certificates.existing.secretName -}}
{{- else -}}
{{- include "sluice.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{- /* The file of a policy, or of what a policy refers to. */ -}}
{{- define "sluice.policyFile" -}}
{{- if contains "." . -}}{{ . }}{{- else -}}{{ . }}.yaml{{- end -}}
{{- end -}}

{{- /* sluice.yaml: what the chart itself decides, with config over it. */ -}}
{{- define "sluice.config" -}}
{{- $own := dict
  "apiVersion" "sluice/v1"
  "kind" "Config"
  "listen" ":8443"
  "tls" (dict "certFile" "pki/tls.crt" "keyFile" "pki/tls.key")
  "admin" (dict "listen" ":9443")
  "admission" (dict "anonymous" true)
  "policies" (list "policies")
  "trustedRoots" (dict "cacheDir" "/var/lib/sluice")
-}}
{{- if .Values.pullSecrets.enabled -}}
{{- $_ := set $own "pullSecrets" (dict "enabled" true "ttl" .Values.pullSecrets.ttl) -}}
{{- end -}}
{{- with .Values.credentialProviders -}}
{{- if or .configFile .binDir -}}
{{- $_ := set $own "credentialProviders" (dict "configFile" .configFile "binDir" .binDir) -}}
{{- end -}}
{{- end -}}
{{- with .Values.hostsDirs -}}
{{- $_ := set $own "hostsDirs" . -}}
{{- end -}}
{{- mergeOverwrite $own (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{- /* Nine tenths of the memory limit, so that the collector works before the kernel does. */ -}}
{{- define "sluice.goMemLimit" -}}
{{- if .Values.goMemLimit -}}
{{- .Values.goMemLimit -}}
{{- else -}}
{{- $limit := dig "limits" "memory" "" .Values.resources | toString -}}
{{- if regexMatch "^[0-9]+Mi$" $limit -}}
{{- div (mul (trimSuffix "Mi" $limit | int) 9) 10 }}MiB
{{- else if regexMatch "^[0-9]+Gi$" $limit -}}
{{- div (mul (trimSuffix "Gi" $limit | int) 9216) 10 }}MiB
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The certificate of mode generated, as a dict of PEM: one that is kept, one that the kept authority issues now, or all of
it anew. It is found out once, since it goes to several templates. `helm template` can't see what there is. */ -}}
{{- define "sluice.generate" -}}
{{- if not (hasKey .Values "generatedCertificate") -}}
{{- $name := include "sluice.fullname" . -}}
{{- $host := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list (printf "%s.svc" $host) $host $name -}}
{{- $days := .Values.certificates.generated.days | int -}}
{{- $now := now | unixEpoch | int64 -}}
{{- $tls := lookup "v1" "Secret" .Release.Namespace (printf "%s-tls" $name) | default dict -}}
{{- $ca := lookup "v1" "Secret" .Release.Namespace (printf "%s-ca" $name) | default dict -}}
{{- $result := dict -}}
{{- if and (dig "data" "tls.crt" "" $tls) (dig "data" "tls.key" "" $ca) -}}
{{- $renew := dig "metadata" "annotations" "sluice/renew-after" "0" $tls | int64 -}}
{{- $authority := buildCustomCert (index $ca.data "tls.crt") (index $ca.data "tls.key") -}}
{{- $_ := set $result "ca" $authority.Cert -}}
{{- $_ := set $result "caKey" $authority.Key -}}
{{- if lt $now $renew -}}
{{- $_ := set $result "crt" (index $tls.data "tls.crt" | b64dec) -}}
{{- $_ := set $result "key" (index $tls.data "tls.key" | b64dec) -}}
{{- $_ := set $result "renew" $renew -}}
{{- else -}}
{{- $leaf := genSignedCertWithKey (first $hosts | trunc 64) nil $hosts $days $authority (genPrivateKey "ecdsa") -}}
{{- $_ := set $result "crt" $leaf.Cert -}}
{{- $_ := set $result "key" $leaf.Key -}}
{{- end -}}
{{- else -}}
{{- $authority := genCAWithKey (printf "%s.%s CA" $name .Release.Namespace | trunc 64) 7300 (genPrivateKey "ecdsa") -}}
{{- $leaf := genSignedCertWithKey (first $hosts | trunc 64) nil $hosts $days $authority (genPrivateKey "ecdsa") -}}
{{- $_ := set $result "ca" $authority.Cert -}}
{{- $_ := set $result "caKey" $authority.Key -}}
{{- $_ := set $result "crt" $leaf.Cert -}}
{{- $_ := set $result "key" $leaf.Key -}}
{{- end -}}
{{- if not (hasKey $result "renew") -}}
{{- $_ := set $result "renew" (add $now (mul $days 43200)) -}}
{{- end -}}
{{- $_ := set .Values "generatedCertificate" $result -}}
{{- end -}}
{{- end -}}

{{- /* The authority that the apiserver is to know sluice by, in a webhook's clientConfig. */ -}}
{{- define "sluice.caBundle" -}}
{{- if eq .Values.certificates.mode "generated" -}}
{{- include "sluice.generate" . -}}
caBundle: {{ .Values.generatedCertificate.ca | b64enc }}
{{- else if and (eq .Values.certificates.mode "existing") .Values.certificates.existing.caBundle -}}
caBundle: {{ .Values.certificates.existing.caBundle | b64enc }}
{{- end -}}
{{- end -}}

{{- define "sluice.webhookMetadata" -}}
name: {{ printf "%s-%s" .Release.Namespace (include "sluice.fullname" .) | trunc 63 | trimSuffix "-" }}
labels:
  {{- include "sluice.labels" . | nindent 2 }}
{{- $annotations := deepCopy .Values.webhooks.annotations -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" (printf "%s/%s" .Release.Namespace (include "sluice.fullname" .)) -}}
{{- end -}}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- /* What the two webhooks have in common. Call it with the root, and the path of the door. */ -}}
{{- define "sluice.webhook" -}}
{{- $root := .root -}}
clientConfig:
  service:
    name: {{ include "sluice.fullname" $root }}
    namespace: {{ $root.Release.Namespace }}
    path: {{ .path }}
    port: {{ $root.Values.service.port }}
  {{- with include "sluice.caBundle" $root }}
  {{- . | nindent 2 }}
  {{- end }}
admissionReviewVersions: [v1]
sideEffects: None
failurePolicy: {{ .webhook.failurePolicy }}
timeoutSeconds: {{ .webhook.timeoutSeconds }}
# Also what is written through another version of an API than those below.
matchPolicy: Equivalent
# kube-system brings the cluster up, and the release's namespace brings up sluice: neither may wait for it.
namespaceSelector:
  matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ concat (list "kube-system" $root.Release.Namespace) $root.Values.webhooks.excludedNamespaces | uniq | toJson }}
  {{- with $root.Values.webhooks.namespaceMatchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $root.Values.webhooks.objectSelector }}
objectSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
rules:
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE, UPDATE]
  resources: [pods, pods/ephemeralcontainers, podtemplates, replicationcontrollers]
  scope: Namespaced
- apiGroups: [apps]
  apiVersions: [v1]
  operations: [CREATE, UPDATE]
  resources: [deployments, replicasets, statefulsets, daemonsets]
  scope: Namespaced
- apiGroups: [batch]
  apiVersions: [v1]
  operations: [CREATE, UPDATE]
  resources: [jobs, cronjobs]
  scope: Namespaced
matchConditions:
# What has neither a pod's containers nor a template has no images. Each field is looked at only where it must be: an
# expression that fails is an object that is refused.
- name: has-images
  expression: >-
    has(object.template) || has(object.spec) &&
    (has(object.spec.containers) || has(object.spec.template) || has(object.spec.jobTemplate))
{{- with $root.Values.webhooks.matchConditions }}
{{ toYaml . }}
{{- end }}
{{- end -}}
