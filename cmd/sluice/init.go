package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"sluice/deploy"
	"sluice/deploy/pki"
)

func newInit() *cobra.Command {
	var (
		o             deploy.Options
		out           string
		force         bool
		caCert, caKey string
	)
	cmd := &cobra.Command{
		Use:   "init --out DIR --server URL",
		Short: "Write everything an installation needs: certificates, configuration, and the apiserver's side of it",
		Long: `Write everything an installation needs to a directory, and print what to do with it, and the way back. Nothing is contacted,
and nothing is overwritten without --force.

  the service     sluice.yaml, policies/, pki/server.crt and .key; static-pod.yaml or sluice.service to run it by; examples/
  the apiserver   admission.yaml (or .json), kubeconfig.yaml, pki/client.crt and .key; kubeadm-patch.yaml for its flags
  both            pki/ca.crt
  webhooks        webhooks.yaml, for clusters where nobody may touch the apiserver's flags
  the way back    rollback.sh, which takes the plugin out of a control-plane machine's apiserver
  offline         pki/ca.key, which sluice cert renews certificates by`,
		Example: `  sluice init --out sluice --server https://127.0.0.1:8443
  sluice init --out sluice-2 --server https://10.0.0.2:8443 --ca-cert sluice/pki/ca.crt --ca-key sluice/pki/ca.key`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&out, "out", "", "the directory to write to")
	flags.StringVar(&o.Server, "server", "", "the https URL under which the apiserver reaches the service")
	flags.StringVar(&o.Mount, "mount", deploy.DefaultMount, "where the apiserver's part of it will stand on the control plane's machines")
	flags.StringSliceVar(&o.Hosts, "host", nil, "a further name or address of the service, for its certificate; may be repeated")
	flags.StringVar(&o.ClientName, "client-name", deploy.DefaultClientName, "the common name of the apiserver's certificate")
	flags.StringVar(&o.Image, "image", deploy.DefaultImage, "the image of static-pod.yaml, with a tag or a digest")
	flags.StringSliceVar(&o.ExcludeNamespaces, "exclude-namespace", nil, "a namespace that webhooks.yaml leaves out, beside kube-system; may be repeated")
	flags.BoolVar(&o.DefaultAllow, "default-allow", false, "let pods in while the service cannot be reached")
	flags.IntVar(&o.AllowTTL, "allow-ttl", deploy.DefaultAllowTTL, "seconds for which the apiserver remembers that a pod was allowed")
	flags.IntVar(&o.DenyTTL, "deny-ttl", deploy.DefaultDenyTTL, "seconds for which the apiserver remembers that a pod was denied")
	flags.IntVar(&o.RetryBackoff, "retry-backoff", deploy.DefaultRetryBackoff, "milliseconds before the apiserver's first retry")
	flags.StringVar(&caCert, "ca-cert", "", "issue the certificates by this CA (with --ca-key) in place of a new one")
	flags.StringVar(&caKey, "ca-key", "", "the key of --ca-cert")
	flags.BoolVar(&force, "force", false, "overwrite files that exist")
	_ = cmd.MarkFlagDirname("out")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if out == "" || o.Server == "" {
			return invalid(fmt.Errorf("--out and --server are needed"), "sluice init --out sluice --server https://127.0.0.1:8443")
		}
		if (caCert == "") != (caKey == "") {
			return invalid(fmt.Errorf("--ca-cert and --ca-key go together"))
		}
		if caCert != "" {
			ca, err := loadCA(caCert, caKey)
			if err != nil {
				return invalid(err)
			}
			o.CA = ca
		}
		bundle, err := deploy.Render(o)
		var option *deploy.OptionError
		if errors.As(err, &option) {
			option.Option = cmp.Or(optionFlags[option.Option], option.Option)
		}
		if err != nil {
			return invalid(err)
		}
		if err := bundle.Write(out, force); errors.Is(err, fs.ErrExist) {
			return invalid(err, "--force overwrites them")
		} else if err != nil {
			return invalid(err)
		}
		return bundle.WriteInstructions(cmd.OutOrStdout(), out)
	}
	return cmd
}

// optionFlags are the flags behind the fields of [deploy.Options], by which people know them.
var optionFlags = map[string]string{
	"Server": "--server", "Mount": "--mount", "Hosts": "--host", "ClientName": "--client-name",
	"Image": "--image", "ExcludeNamespaces": "--exclude-namespace", "AllowTTL": "--allow-ttl", "DenyTTL": "--deny-ttl", "RetryBackoff": "--retry-backoff",
}

func loadCA(certFile, keyFile string) (*pki.CA, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	return pki.LoadCA(cert, key)
}
