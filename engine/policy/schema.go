package policy

import _ "embed"

//go:generate go test -run TestSchemaIsCurrent -update .

//go:embed schema.json
var schema string

// Schema returns the JSON Schema (draft 2020-12) of an ImagePolicy document, for editors. It says less than [Compile]
// checks: what it refuses is refused, but not all that is refused is in it.
func Schema() []byte { return []byte(schema) }
