package http2frame_test

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"

	"navarch.dev/navarch/internal/http2frame"
)

// What is put together is what the library's framer writes.
func TestAsTheFramer(t *testing.T) {
	var want bytes.Buffer
	f := http2.NewFramer(&want, nil)
	settings := []http2.Setting{{ID: http2.SettingEnablePush, Val: 0}, {ID: http2.SettingInitialWindowSize, Val: 1 << 30}}
	for _, err := range []error{
		f.WriteSettings(settings...), f.WriteSettingsAck(), f.WriteWindowUpdate(0, 1<<31-1), f.WriteWindowUpdate(70001, 5),
		f.WriteRSTStream(3, http2.ErrCodeCancel), f.WriteData(1<<31-1, true, make([]byte, 70_000)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := http2frame.AppendSettings(nil, settings...)
	got = http2frame.Append(got, http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	got = http2frame.AppendWindowUpdate(got, 0, 1<<31-1)
	got = http2frame.AppendWindowUpdate(got, 70001, 5)
	got = http2frame.AppendReset(got, 3, http2.ErrCodeCancel)
	got = append(http2frame.Append(got, http2.FrameData, http2.FlagDataEndStream, 1<<31-1, 70_000), make([]byte, 70_000)...)
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the frames are\n% .80x\nwant\n% .80x", got, want.Bytes())
	}
}
