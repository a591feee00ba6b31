package expression

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// object is a JSON object. CEL's own takes a Go map for each, which is ten times as large for an object of one member, and
// makes a list of its names for every loop over it: many short loops over a large object would cost more than is counted.
type object struct {
	members []member // by their names, of which none is there twice
}

type member struct {
	name  string
	value ref.Val
}

var _ traits.Mapper = (*object)(nil)

// Find returns the member of a name.
func (o *object) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	i, ok := slices.BinarySearchFunc(o.members, string(name), func(m member, name string) int { return strings.Compare(m.name, name) })
	if !ok {
		return nil, false
	}
	return o.members[i].value, true
}

// Get returns the member of a name, or an error.
func (o *object) Get(key ref.Val) ref.Val {
	v, ok := o.Find(key)
	if !ok {
		return types.ValOrErr(v, "no such key: %v", key)
	}
	return v
}

// Contains tells whether there is a member of a name.
func (o *object) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

// Size returns how many members there are.
func (o *object) Size() ref.Val { return types.Int(len(o.members)) }

// IsZeroValue tells whether there are none.
func (o *object) IsZeroValue() bool { return len(o.members) == 0 }

// Equal tells whether other has the same members.
func (o *object) Equal(other ref.Val) ref.Val {
	m, ok := other.(traits.Mapper)
	if !ok || m.Size() != o.Size() {
		return types.False
	}
	for _, one := range o.members {
		v, ok := m.Find(types.String(one.name))
		if !ok || types.Equal(one.value, v) == types.False {
			return types.False
		}
	}
	return types.True
}

// Type returns CEL's type of maps.
func (o *object) Type() ref.Type { return types.MapType }

// Value returns the object as CEL's own has it.
func (o *object) Value() any {
	members := make(map[string]any, len(o.members))
	for _, m := range o.members {
		members[m.name] = m.value
	}
	return members
}

// ConvertToNative does what CEL's own does.
func (o *object) ConvertToNative(to reflect.Type) (any, error) {
	return types.DefaultTypeAdapter.NativeToValue(o.Value()).ConvertToNative(to)
}

// ConvertToType does what CEL's own does.
func (o *object) ConvertToType(to ref.Type) ref.Val {
	switch to {
	case types.MapType:
		return o
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("type conversion error from '%s' to '%s'", types.MapType, to)
}

// Iterator returns the object's names.
func (o *object) Iterator() traits.Iterator { return &names{left: o.members} }

// names are those of an object.
type names struct{ left []member }

var _ traits.Iterator = (*names)(nil)

// HasNext tells whether there are more.
func (n *names) HasNext() ref.Val { return types.Bool(len(n.left) > 0) }

// Next returns the next name.
func (n *names) Next() ref.Val {
	if len(n.left) == 0 {
		return nil
	}
	name := n.left[0].name
	n.left = n.left[1:]
	return types.String(name)
}

// The rest makes it a value, which it has to be, but no expression comes by it.

var errIterator = errors.New("an iterator is no value")

// ConvertToNative fails.
func (n *names) ConvertToNative(reflect.Type) (any, error) { return nil, errIterator }

// ConvertToType fails.
func (n *names) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errIterator) }

// Equal fails.
func (n *names) Equal(ref.Val) ref.Val { return types.WrapErr(errIterator) }

// Type returns CEL's type of iterators.
func (n *names) Type() ref.Type { return types.IteratorType }

// Value returns nothing.
func (n *names) Value() any { return nil }
