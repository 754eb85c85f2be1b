package expression

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/blang/semver/v4"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	resourcev1 "k8s.io/api/resource/v1"
)

const deviceType = "kubernetes.DRADevice"

// deviceEnvironment is that of the expressions that select devices. They see
// nothing but the device.
var deviceEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	env, err := base()
	if err != nil {
		return nil, err
	}
	domain := func(value *cel.Type) *cel.Type {
		return cel.MapType(cel.StringType, cel.MapType(cel.StringType, value))
	}
	known := map[string]fields{deviceType: {
		"driver": cel.StringType, "allowMultipleAllocations": cel.BoolType,
		"attributes": domain(cel.AnyType), "capacity": domain(quantityType),
	}}
	return env.Extend(
		ext.Bindings(ext.BindingsVersion(0)),
		cel.CustomTypeProvider(&structs{Provider: env.CELTypeProvider(), types: known}),
		cel.Variable("device", cel.ObjectType(deviceType)),
	)
})

// DeviceSelector is an expression that is true of some devices.
type DeviceSelector struct {
	program cel.Program
	cost    uint64
}

// CompileDeviceSelector checks the expression of a CELDeviceSelector.
func CompileDeviceSelector(source string) (*DeviceSelector, error) {
	env, err := deviceEnvironment()
	if err != nil {
		return nil, fmt.Errorf("unexpected error loading CEL environment: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, fmt.Errorf("compilation failed: %s", issues)
	}
	if output := ast.OutputType(); !output.IsExactType(cel.BoolType) && !output.IsExactType(cel.AnyType) {
		return nil, fmt.Errorf("must evaluate to %v or the unknown type, not %v", cel.BoolType, output)
	}
	program, err := env.Program(ast, limited(resourcev1.CELSelectorExpressionMaxCost)...)
	if err != nil {
		return nil, fmt.Errorf("program instantiation failed: %w", err)
	}
	estimate, err := env.EstimateCost(ast, estimator{deviceSizes})
	if err != nil {
		return nil, fmt.Errorf("cost estimation failed: %w", err)
	}
	return &DeviceSelector{program: program, cost: estimate.Max}, nil
}

// Cost is the most that an evaluation can cost, in CEL's units, of which
// resourcev1.CELSelectorExpressionMaxCost may be spent.
func (s *DeviceSelector) Cost() uint64 { return s.cost }

// Matches says whether the expression is true of a device. It fails for devices
// that lack an attribute that it uses without asking for it.
func (s *DeviceSelector) Matches(ctx context.Context, device *Device) (bool, error) {
	value, _, err := s.program.ContextEval(ctx, device.variables)
	if err != nil {
		return false, err
	}
	match, ok := value.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the result is of type %s, not bool", value.Type().TypeName())
	}
	return match, nil
}

// Device is a device as expressions see it.
type Device struct{ variables map[string]any }

// NewDevice shows a driver's device to expressions. Attributes and capacities
// that name no domain are in the driver's.
func NewDevice(driver string, d *resourcev1.Device) (*Device, error) {
	attributes, capacity := domains{}, domains{}
	for name, attribute := range d.Attributes {
		value, err := attributeValue(&attribute)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		attributes.add(name, driver, value)
	}
	for name, c := range d.Capacity {
		capacity.add(name, driver, newQuantity(c.Value))
	}
	return &Device{map[string]any{"device": map[string]any{
		"driver":                   driver,
		"allowMultipleAllocations": d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations,
		"attributes":               attributes.value(),
		"capacity":                 capacity.value(),
	}}}, nil
}

func attributeValue(a *resourcev1.DeviceAttribute) (ref.Val, error) {
	switch {
	case a.IntValue != nil:
		return types.Int(*a.IntValue), nil
	case a.BoolValue != nil:
		return types.Bool(*a.BoolValue), nil
	case a.StringValue != nil:
		return types.String(*a.StringValue), nil
	case a.VersionValue != nil:
		v, err := semver.Parse(*a.VersionValue)
		if err != nil {
			return nil, fmt.Errorf("parse semantic version: %w", err)
		}
		return newSemver(v), nil
	}
	return nil, errors.New("unsupported attribute value")
}

// domains are values by domain and name.
type domains map[string]map[string]ref.Val

func (d domains) add(name resourcev1.QualifiedName, driver string, value ref.Val) {
	domain, id, qualified := strings.Cut(string(name), "/")
	if !qualified {
		domain, id = driver, string(name)
	}
	if d[domain] == nil {
		d[domain] = map[string]ref.Val{}
	}
	d[domain][id] = value
}

func (d domains) value() ref.Val {
	adapter := types.DefaultTypeAdapter
	values := make(map[string]any, len(d))
	for domain, named := range d {
		values[domain] = named
	}
	return domainMap{Mapper: types.NewStringInterfaceMap(adapter, values), empty: adapter.NativeToValue(map[string]any{})}
}

// domainMap is a map in which every domain is found: of those that a device
// knows nothing of, the map is empty.
type domainMap struct {
	traits.Mapper
	empty ref.Val
}

// Find implements traits.Mapper.
func (m domainMap) Find(key ref.Val) (ref.Val, bool) {
	if value, ok := m.Mapper.Find(key); ok {
		return value, true
	}
	return m.empty, true
}
