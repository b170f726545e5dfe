import { deepmerge } from "@mui/utils";
import { defaultLightTheme, type RaThemeOptions } from "react-admin";

/** The colours that mean something; everything else follows from react-admin's light theme. */
export const tide = {
  deep: "#0b3b4f",
  main: "#0e6a83",
  bright: "#17a2a8",
  foam: "#e6f4f5",
  ink: "#14242c",
  paper: "#f3f6f8",
  line: "#dfe6ea",
} as const;

const fonts = [
  "Inter",
  "system-ui",
  "-apple-system",
  '"Segoe UI"',
  "Roboto",
  '"Noto Sans"',
  '"Liberation Sans"',
  "sans-serif",
].join(", ");

export const theme: RaThemeOptions = deepmerge(defaultLightTheme, {
  palette: {
    primary: { main: tide.main, dark: tide.deep, light: tide.bright, contrastText: "#fff" },
    secondary: { main: tide.deep, light: tide.main, dark: "#06232f", contrastText: "#fff" },
    success: { main: "#1a7f4b" },
    warning: { main: "#b25e02" },
    error: { main: "#c0352b" },
    info: { main: "#5b6fb5" },
    background: { default: tide.paper, paper: "#fff" },
    text: { primary: tide.ink, secondary: "#51646e" },
    divider: tide.line,
  },
  shape: { borderRadius: 10 },
  typography: {
    fontFamily: fonts,
    h1: { fontSize: "1.5rem", fontWeight: 700, letterSpacing: "-0.015em" },
    h2: { fontSize: "1.15rem", fontWeight: 700, letterSpacing: "-0.01em" },
    h3: { fontSize: "0.95rem", fontWeight: 700 },
    button: { textTransform: "none", fontWeight: 600 },
  },
  components: {
    MuiTextField: { defaultProps: { variant: "outlined" } },
    MuiFormControl: { defaultProps: { variant: "outlined" } },
    MuiButton: { defaultProps: { disableElevation: true } },
    MuiPaper: {
      styleOverrides: { elevation1: { boxShadow: "none", border: `1px solid ${tide.line}` } },
    },
    MuiTableCell: { styleOverrides: { head: { fontWeight: 600, color: "#51646e" } } },
    // The live line is at the foot of the page; the form's buttons stay with the form.
    RaToolbar: {
      styleOverrides: {
        root: { backgroundColor: tide.paper, "&.RaToolbar-mobileToolbar": { position: "static" } },
      },
    },
    MuiChip: { styleOverrides: { root: { fontWeight: 500 } } },
  },
});
