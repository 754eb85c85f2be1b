package apistatus

import (
	"encoding/json"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// warned is an error that comes with warnings.
type warned struct {
	error
	warnings []string
}

func (w *warned) Unwrap() error { return w.error }

// WithWarnings returns an error that carries what the caller is to be told
// beside it, over gRPC too. Without warnings, or if err is nil, err comes back as
// it is.
func WithWarnings(err error, warnings []string) error {
	if err == nil || len(warnings) == 0 {
		return err
	}
	return &warned{err, warnings}
}

// Warnings returns the warnings that an error carries, also one that a gRPC call
// has returned.
func Warnings(err error) []string {
	if w := (*warned)(nil); errors.As(err, &w) {
		return w.warnings
	}
	if st, ok := status.FromError(err); ok && err != nil {
		return warningsIn(st)
	}
	return nil
}

// warningsKey is the key of warnings in an ErrorInfo.
const warningsKey = "warnings"

func warningsToMetadata(err error) map[string]string {
	w := (*warned)(nil)
	if !errors.As(err, &w) {
		return nil
	}
	text, err := json.Marshal(w.warnings)
	if err != nil {
		return nil
	}
	return map[string]string{warningsKey: string(text)}
}

func warningsIn(st *status.Status) []string {
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok {
			continue
		}
		var warnings []string
		if json.Unmarshal([]byte(info.GetMetadata()[warningsKey]), &warnings) == nil {
			return warnings
		}
	}
	return nil
}
