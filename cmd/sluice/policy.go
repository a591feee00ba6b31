package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sluice/engine/policy"
	"sluice/engine/policy/strictyaml"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check policies, and describe their form",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyValidate(), newPolicyImport(), newPolicySchema())
	return cmd
}

func newPolicyValidate() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "validate FILE|DIR…",
		Short: "Check policies as serve would, and say what is wrong with line and caret",
		Args:  cobra.MinimumNArgs(1),
	}
	check := outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		if err := check(); err != nil {
			return err
		}
		set, err := policy.Load(paths, policy.Options{CheckRoot: checkRoot})
		if output == "json" {
			if jsonErr := json.NewEncoder(cmd.OutOrStdout()).Encode(validation(set, err)); jsonErr != nil {
				return jsonErr
			}
			if err != nil {
				return &exitError{code: exitUsage}
			}
			return nil
		}
		if err != nil {
			return invalid(err, schemaHint(err)...)
		}
		for _, note := range set.Notes {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", note)
		}
		for _, p := range set.Policies {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", p.Name)
		}
		return nil
	}
	return cmd
}

// schemaHint is for those whose documents have not the form that a schema describes.
func schemaHint(err error) []string {
	for _, e := range flatten(err) {
		var placed *strictyaml.Error
		if errors.As(e, &placed) && placed.Form {
			return []string{"sluice policy schema prints a JSON schema, with which an editor finds unknown, missing and mistyped fields"}
		}
	}
	return nil
}

// validated is what policy validate -o json prints.
type validated struct {
	Valid    bool              `json:"valid"`
	Policies []string          `json:"policies"`
	Notes    []string          `json:"notes,omitempty"` // of ClusterImagePolicy documents: what is kept in another form
	Errors   []validationError `json:"errors"`
}

type validationError struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

func validation(set *policy.Set, err error) validated {
	v := validated{Valid: err == nil, Policies: []string{}, Errors: []validationError{}}
	if set != nil && err == nil {
		for _, p := range set.Policies {
			v.Policies = append(v.Policies, p.Name)
		}
		v.Notes = set.Notes
	}
	for _, e := range flatten(err) {
		var placed *strictyaml.Error
		if errors.As(e, &placed) {
			v.Errors = append(v.Errors, validationError{placed.File, placed.Line, placed.Column, placed.Message})
		} else {
			v.Errors = append(v.Errors, validationError{Message: e.Error()})
		}
	}
	return v
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

func newPolicySchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of ImagePolicy documents, for editors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(policy.Schema())
			return err
		},
	}
}
