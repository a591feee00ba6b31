package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sluice/engine/policy"
	"sluice/engine/policy/clusterimagepolicy"
	"sluice/engine/policy/strictyaml"
)

func newPolicyImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE…",
		Short: "Translate sigstore's ClusterImagePolicy documents, and list what is not kept",
		Long: `import prints the ImagePolicy documents that ClusterImagePolicy documents of policy.sigstore.dev/v1alpha1 and v1beta1
mean. TrustRoot documents that they refer to must be among the files. What is not kept, or is kept in another form, is
listed on standard error by file and line.

Exit codes: 0 translated; 1 translated, and an image may pass that the documents deny; 2 a file cannot be read, or a
document is not valid.`,
		Example: `  sluice policy import image-policy.yaml trust-root.yaml`,
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		return importPolicies(cmd.OutOrStdout(), cmd.ErrOrStderr(), files)
	}
	return cmd
}

func importPolicies(stdout, stderr io.Writer, files []string) error {
	var docs []*strictyaml.Document
	var errs []error
	for _, file := range files {
		src, err := readDocuments(file)
		if err == nil {
			var more []*strictyaml.Document
			more, err = strictyaml.Documents(file, src)
			docs = append(docs, more...)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return invalid(err)
	}
	translation, err := clusterimagepolicy.Translate(docs)
	if err != nil {
		return invalid(err)
	}
	weaker := 0
	for _, note := range translation.Notes {
		severity := "note"
		switch {
		case note.Weaker:
			severity = "weaker"
			weaker++
		case note.Stricter:
			severity = "stricter"
		}
		fmt.Fprintf(stderr, "%s: %s\n", severity, note)
	}
	if len(translation.Policies) == 0 {
		return invalid(errors.New("there is no ClusterImagePolicy in these files that is for any image"))
	}
	for _, p := range translation.Policies {
		// What is printed loads: that is looked after here, rather than left to whoever puts it into a file.
		if err := policy.CheckTranslated(p, policy.Options{CheckRoot: checkRoot}); err != nil {
			return invalid(err)
		}
	}
	for i, p := range translation.Policies {
		if i > 0 {
			fmt.Fprintln(stdout, "---")
		}
		if _, err := stdout.Write(p.YAML); err != nil {
			return err
		}
	}
	switch translation.LeftOut {
	case 0:
	case 1:
		fmt.Fprintln(stderr, "1 authority was left out; images that only it signs will be denied")
	default:
		fmt.Fprintf(stderr, "%d authorities were left out; images that only they sign will be denied\n", translation.LeftOut)
	}
	if weaker > 0 {
		return &exitError{
			code:  exitDenied,
			err:   fmt.Errorf("what was translated asks for less than the documents, in %d of the places above", weaker),
			hints: []string{"mend each line that begins with weaker, in the documents or in the translation"},
		}
	}
	return nil
}

// readDocuments reads a regular file of the size that a policy may have.
func readDocuments(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, strictyaml.MaxBytes+1)) // one more than is accepted, so that it is noticed
}
