// In a frame: another realm with a copy of its own.
import * as tidegate from "/tidegate/dist/index.js";

globalThis.tidegate = tidegate;
